"""How many files and sockets this process may have open at a time."""

import resource

ENOUGH = 65_536


def raise_open_files_limit() -> int:
    """Raise the soft limit (often 1024, of which each connection takes one) as far as the hard one lets;
    returns what it is then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
