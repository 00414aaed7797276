"""The CUDA engine: kernels, networks, pictures, precision, and memory."""
