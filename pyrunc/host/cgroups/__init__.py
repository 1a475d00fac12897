"""What the host does with cgroups: finding them, making and removing them, and their members.

One module for each, so that a verb loads only what it uses:
  facts     the layout of hierarchies that the runtime sees
  tree      creating a container's cgroups by a plan, and removing them
  members   the processes in them: listing, freezing, signalling, adding
  change    other limits while they run, and the old ones back where that fails
  stats     what they have used
  oom       waiting for the OOM killer
  moved     where they are when the hierarchies are mounted elsewhere
"""
