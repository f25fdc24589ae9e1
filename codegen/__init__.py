"""Code generation: graph IR to kernels, loop IR, LLVM, objects, libraries."""
