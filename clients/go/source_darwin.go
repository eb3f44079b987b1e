package assetd

// adviseSequential does nothing: this system reads ahead by itself.
func adviseSequential(int) {}
