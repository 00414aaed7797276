"""Networks as data: reading, rewriting, evaluating and exporting them."""
