"""Declare in a file what each principal may do on Kafka, and apply it to the cluster or compare the two.

Place in the flow: beside it, once before everything else starts, and whenever a newsroom is added or removed.
"""
