"""LIBERO, byte-equal to stepping it itself and many times faster."""
