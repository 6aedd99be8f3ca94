"""The demo: a small shop behind a real nginx, two waitroom instances, an embedded server and a crowd that queues.

`waitroom.demo.run.run` is what `waitroom demo` calls. Everything it starts ends with it, and all of it listens on
loopback only.
"""
