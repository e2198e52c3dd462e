"""The page of a demo, and all that it needs: this folder goes into a Space as it is.

So it imports nothing of hf_simtune, and its own parts by relative names.
"""
