"""Recipe to image: how a guest is made and kept in the cache."""
