"""Speed, memory and accuracy compared with other implementations, on the CPU."""
