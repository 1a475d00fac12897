"""Names of the annotations that change what the runtime does (config.md, "Annotations").

They are those of crun and runc; docs/configuration.md says what each is for. Nothing is imported here,
since `delete` loads it for poststop hooks.
"""

# Files that hooks' standard output and standard error are appended to.
STREAMS = ("run.oci.hooks.stdout", "run.oci.hooks.stderr")

HONOURED = ("run.oci.delegate-cgroup", *STREAMS, "run.oci.keep_original_groups", "run.oci.mount_context_type")
