"""What differs between LLM APIs, recognised by shape: errors, headers, usage, estimates, prices.

Nothing here imports a client library; every reader is a pure function of what it is given, and none of
them raises on what a provider sends.
"""
