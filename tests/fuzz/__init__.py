"""What any bytes may do to the reading of objects: nothing but objects, or problems of one line each.

`check` is the one property; hypothesis asks it (`tests/properties/test_hostile_input.py`) and so does a coverage-guided
fuzzer (`python -m tests.fuzz.manifests`).
"""
