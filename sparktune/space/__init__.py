"""What may be tried: expression nodes, ``scope``, distributions, and the compiled space."""
