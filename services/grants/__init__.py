"""Who may do what on Kafka: declared in a file, made so on the cluster, compared with it.

Place in the flow: beside it, once before everything else starts, and whenever a newsroom comes or goes.
"""
