"""Machine code for a CPU: from vectorised LLVM IR to functions that run on several threads."""
