"""avtrain's commands as functions, under the names that `avtrain` exports.

A path is a `str` or a `Path`; where a URL is possible it is a `str`, such as "s3://bucket/my-data".
"""
