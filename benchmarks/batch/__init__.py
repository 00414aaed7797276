"""The command on folders of many files: memory, throughput, and recovery from crashes."""
