"""Tell what the verbs found that watch nothing: secrets, native code, servers."""
