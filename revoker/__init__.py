"""Session revocation: what an identity event ends, ended everywhere, provably."""
