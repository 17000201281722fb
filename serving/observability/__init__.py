"""What tells of a server's requests: access lines, trace context, payload logs and events.

What is quick happens in the server, in threads of its own. Payload logs and events are made by a helper process, which
gets the bodies over a pipe: decoding, compressing and sending hold an interpreter for long, and answers must not wait
for that. Nothing of this is imported or wrapped around an application that is not asked to be observed.
"""
