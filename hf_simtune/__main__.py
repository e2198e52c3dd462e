"""python -m hf_simtune"""

from hf_simtune.cli import main

main()
