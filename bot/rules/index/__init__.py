"""The compiled decision: all rules of a website decided at once. Delete it and everything still works."""
