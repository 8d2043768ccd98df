"""The agent that runs op lists in a guest: its lists, its marks, its model and its generators."""
