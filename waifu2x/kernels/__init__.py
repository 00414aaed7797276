"""The typed face of the compiled kernels (``csrc/``)."""
