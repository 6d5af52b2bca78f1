import pytest

from processors.runtime.topology import Topology, read_topology


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@h:1/2", Topology("server", "redis://u:p@h:1/2", ())),
        ("unix:///run/redis.sock", Topology("server", "unix:///run/redis.sock", ())),
        (
            "redis+cluster://u:p@a:1,b,[::1]:3",
            Topology("cluster", "redis://u:p@a:1", (("a", 1), ("b", 6379), ("::1", 3))),
        ),
        (
            "rediss+cluster://a:1?ssl_cert_reqs=none",
            Topology("cluster", "rediss://a:1?ssl_cert_reqs=none", (("a", 1),)),
        ),
        (
            "redis+sentinel://:p@a,b:2/ark/3",
            Topology("sentinel", "redis://:p@a:26379/3", (("a", 26379), ("b", 2)), "ark"),
        ),
        ("redis+sentinel://a/ark", Topology("sentinel", "redis://a:26379/", (("a", 26379),), "ark")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: Topology) -> None:
    assert read_topology(url) == expected


@pytest.mark.parametrize(
    ("url", "clause"),
    [
        ("http+cluster://a", "must begin with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://"),
        ("redis+ring://a", "must begin with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://"),
        ("redis+cluster://a:1/3", "must not name a database: a cluster has one only"),
        ("redis+cluster://", "must name hosts as host:port,host:port"),
        ("redis+cluster://a:1,", "must name hosts as host:port,host:port"),
        ("redis+cluster://a:70000", "has a port that is not a number between 1 and 65535"),
        ("redis+sentinel://a", "must name a master, such as redis+sentinel://host:26379/mymaster/0"),
        ("redis+sentinel://a/m/x", "must name a master, such as redis+sentinel://host:26379/mymaster/0"),
    ],
)
def test_an_address_that_is_none_says_what_it_lacks(url: str, clause: str) -> None:
    with pytest.raises(ValueError, match=f"^{clause.replace('+', '[+]')}$"):
        read_topology(url)
