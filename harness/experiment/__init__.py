"""The main job: from an image to a verdict for each variant."""
