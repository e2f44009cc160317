"""The verbs that compare a night with the last: recordings, servers, destinations."""
