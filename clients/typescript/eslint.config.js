import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["src/gen/**", "build/**", "dist/**"] },
  tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { project: true } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      // What a signal aborts with is the caller's, whatever it is.
      "@typescript-eslint/only-throw-error": "off",
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      // `node:test` returns promises that nobody has to await.
      "max-lines": ["error", 400],
    },
  },
  {
    files: ["test/**"],
    rules: { "@typescript-eslint/no-floating-promises": "off" },
  },
);
