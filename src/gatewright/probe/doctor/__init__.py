"""Whether a cluster enforces its network policies: what its objects say, judged by knowledge that is data.

`collect` asks the API, `judge` answers from what was heard and from the files in `solutions/`. A wrong yes is the worst
fault here: what is not seen, not known or not allowed to be seen is unknown, and says what would tell.
"""
