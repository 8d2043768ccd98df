"""A guest from a disk image that somebody else has installed, such as Debian's.

Nothing here knows that image: each assumption about it is a field of the recipe.
"""
