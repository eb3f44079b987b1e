"""The assetd service.

The modules form floors, and imports look downward only: the import contract in
`.importlinter` names the floors and the reason for each rule.
"""
