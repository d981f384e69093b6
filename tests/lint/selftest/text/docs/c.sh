# TODO: later
# TODOS are fine
