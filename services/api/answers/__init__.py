"""The answers of `/v1`: one route is one function, which names its question to `results` and its model.

`asked` is what every route is given, `models` says what is answered and `forms` how it is written; the routes are by
subject.
"""
