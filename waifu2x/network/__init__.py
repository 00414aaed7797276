"""A network is data: read, rewritten, evaluated and exported."""
