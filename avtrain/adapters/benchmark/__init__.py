"""avtrain benchmark: tasks of mteb, X-ARES and HEAR for an encoder, one after the other, each kept once it has run."""
