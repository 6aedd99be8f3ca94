"""The grammar of Redis URLs, and that no secret of one is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.errors import SettingsError
from waitroom.store.url import RedisUrl, Tls, has_password, masked, parse, password_in, shown, with_password

SECRETS = st.text("ABCXYZabcxyz0189+/=@:#?%&é ", min_size=6, max_size=40).map(lambda secret: f"S{secret}S")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://10.0.0.1", RedisUrl("single", (("10.0.0.1", 6379),))),
        ("redis://redis_1.example:1/3", RedisUrl("single", (("redis_1.example", 1),), database=3)),
        ("redis://[::1]:6380/", RedisUrl("single", (("::1", 6380),))),
        ("rediss://redis.example", RedisUrl("single", (("redis.example", 6379),), tls=Tls())),
        ("redis://u:p%40%2Fw@h", RedisUrl("single", (("h", 6379),), username="u", password="p@/w")),
        ("redis://:a:b@c@h", RedisUrl("single", (("h", 6379),), password="a:b@c")),
        ("redis://u@h", RedisUrl("single", (("h", 6379),), username="u")),
        ("unix:///run/r.sock", RedisUrl("single", (), path="/run/r.sock")),
        ("unix://u:p@/run/a%20b?db=2", RedisUrl("single", (), path="/run/a b", database=2, username="u", password="p")),
        ("redis+sentinel://a,b:1/main", RedisUrl("sentinel", (("a", 26379), ("b", 1)), service="main")),
        (
            "rediss+sentinel://:p@a/my%20main/4?sentinel_username=v&sentinel_password=q%26&ssl_ca_certs=/ca.pem",
            RedisUrl(
                "sentinel",
                (("a", 26379),),
                service="my main",
                database=4,
                tls=Tls(ssl_ca_certs="/ca.pem"),
                password="p",
                sentinel_username="v",
                sentinel_password="q&",
            ),
        ),
        ("redis+cluster://a:1,b,[::1]:3", RedisUrl("cluster", (("a", 1), ("b", 6379), ("::1", 3)))),
        ("redis+cluster://a/0", RedisUrl("cluster", (("a", 6379),))),
        (
            "rediss+cluster://a?ssl_ca_path=/d&ssl_certfile=/c&ssl_keyfile=/k&ssl_password=x",
            RedisUrl("cluster", (("a", 6379),), tls=Tls("", "/d", "/c", "/k", "x")),
        ),
        (
            "rediss+cluster://a?ssl_check_hostname=no&ssl_cert_reqs=none&ssl_min_version=TLSv1.3&ssl_ciphers=AES",
            RedisUrl(
                "cluster",
                (("a", 6379),),
                tls=Tls(ssl_check_hostname=False, ssl_cert_reqs="none", ssl_min_version="TLSv1.3", ssl_ciphers="AES"),
            ),
        ),
    ],
)
def test_each_kind_is_taken_apart(url: str, parsed: RedisUrl) -> None:
    """Hosts, service, database, credentials and TLS options are what the URL says."""
    assert parse(url) == parsed
    assert parse(url.replace("redis", "valkey", 1) if url.startswith("redis") else url) == parsed


def test_valkey_is_as_good_a_word_as_redis() -> None:
    """With a password that comes from a file, in what is shown, and in what is no URL."""
    assert with_password("valkeys://u@h/1", "p") == "valkeys://u:p@h/1"
    assert masked("valkeys://u:p@h/1") == "rediss://***@h:6379/1"
    assert masked("valkey+cluster://u:p@h:port") == "valkey+cluster://***"
    assert has_password("valkey://:p@h")
    for wrong in ("valkeyss://h", "valkey-cluster://h", "redisvalkey://h", "valkeys+unix://h"):
        with pytest.raises(SettingsError, match="valkey is as good a word as redis"):
            parse(wrong)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must be redis://"),
        ("geheim", "must be redis://"),
        ("http://:geheim@127.0.0.1", "must be redis://"),
        ("redis+unix:///geheim", "must be redis://"),
        ("redis:/:geheim@h", "must be redis://"),
        ("redis://", "names no valid host"),
        ("redis:///0", "names no valid host"),
        ("redis://:geheim", "names no valid host"),
        ("redis://user:geheim", "names no valid host"),
        ("redis://h:0", "a port must be"),
        ("redis://h:65536", "a port must be"),
        ("redis://h:", "a port must be"),
        ("redis://h ost", "a space"),
        ("redis://h/0\n", "a control character"),
        ("unix:///run/%0a", "a control character"),
        ("redis://h/shop", "the database must be a number"),
        ("redis://h/0/1", "a path that is too long"),
        ("redis://a,b", "names several hosts"),
        ("redis+cluster://a/1", "names a database"),
        ("redis+sentinel://a,b", "names no service"),
        ("redis+sentinel://a,/s", "names no valid host"),
        ("unix://", "must name a socket"),
        ("unix://run/redis.sock", "must name a socket"),
        ("redis://:ge/heim@h", "percent-encode"),
        ("redis://:ge#heim@h", "percent-encode"),
        ("redis://user:1234?geheim=x@h", "percent-encode"),
        ("redis://h/0#geheim", "percent-encode"),
        ("redis://h?nonsense=geheim", "has no option 'nonsense' here"),
        ("redis://h?socket_timeout=5", "has no option 'socket_timeout' here"),
        ("redis://h?sentinel_password=geheim", "has no option 'sentinel_password' here"),
        ("redis://h?Geheim-9=x", "has an unknown option"),
        ("redis://h?geheim", "has options that are not name=value"),
        ("redis://h?password=geheim", "write user:password@"),
        ("rediss://h?ssl_ciphers=a&ssl_ciphers=b", "has an option twice"),
        ("redis://h?ssl_ca_certs=/ca.pem", "the option ssl_ca_certs needs TLS"),
        ("rediss://h?ssl_check_hostname=geheim", "the option ssl_check_hostname must be true or false"),
        ("rediss://h?ssl_cert_reqs=geheim", "the option ssl_cert_reqs must be required or none"),
        ("rediss://h?ssl_keyfile=/k", "the option ssl_keyfile needs ssl_certfile"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(url: str, why: str) -> None:
    """Each fault is told in words; nothing is quoted that may be a password."""
    with pytest.raises(SettingsError) as refused:
        parse(url)
    assert str(refused.value).startswith("redis_url: ")
    assert why in str(refused.value)
    assert "eheim" not in str(refused.value)
    assert "eheim" not in masked(url)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://10.0.0.1:6379/0", "redis://10.0.0.1:6379/0"),
        ("redis://:hunter2@10.0.0.1", "redis://***@10.0.0.1:6379/0"),
        ("rediss://waitroom:hunter2@redis.example/1?ssl_ca_certs=/ca.pem", "rediss://***@redis.example:6379/1"),
        ("redis+sentinel://:hunter2@a:1,b:2/main?sentinel_password=hunter2", "redis+sentinel://***@a:1,b:2/main/0"),
        ("rediss+cluster://u:hunter2@a:1,[::1]:2", "rediss+cluster://***@a:1,[::1]:2"),
        ("unix://u:hunter2@/run/s?db=1", "unix://***@/run/s"),
        ("redis://:hunter2", "redis://***"),
        ("redis+cluster://h/hunter2", "redis+cluster://***"),
        ("hunter2://", "***"),
        ("hunter2", "***"),
        ("", "***"),
    ],
)
def test_a_masked_url_keeps_the_addresses_only(url: str, safe: str) -> None:
    """All hosts stay readable; user, password and options do not; of a bad URL the scheme is left."""
    assert masked(url) == safe


FORMS = (
    "redis://user:{}@h:6379/0",
    "unix://:{}@/run/s",
    "redis+sentinel://u:{}@a,b:1/main",
    "redis+cluster://{}@a,b",
    "rediss://h?ssl_password={}",
    "{}",
)


@given(SECRETS, st.sampled_from(FORMS))
def test_no_password_survives_masking(secret: str, form: str) -> None:
    """Whatever a password holds, and however it was pasted, neither mask nor message nor repr shows it."""
    url = form.format(secret)
    try:
        said = repr(parse(url))
    except SettingsError as error:
        said = str(error)
    assert secret not in said + masked(url)


@given(SECRETS)
def test_a_password_put_in_is_the_password_read(secret: str) -> None:
    """`with_password` encodes whatever it is given, and keeps the rest of the URL."""
    url = with_password("redis+sentinel://u@a:1,b:2/main?sentinel_username=w", secret)
    parsed = parse(url)
    assert (parsed.username, parsed.password, parsed.sentinel_username) == ("u", secret, "w")
    assert parse(with_password("unix:///run/s", secret)).password == secret
    assert has_password(url)


def test_what_a_server_repeats_is_scrubbed() -> None:
    """Every secret of the URL is taken out of a text, as meant and as encoded, and line breaks with it."""
    url = parse("rediss+sentinel://u:a%2Fb@h/s?sentinel_password=c%20d&ssl_password=efg")
    assert url.scrubbed("x a/b a%2Fb\r\nc d c%20d efg") == "x *** *** *** *** ***"


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("redis://h", False),
        ("redis://u@h", False),
        ("unix:///run/s", False),
        ("nonsense", False),
        ("redis://:p@h", True),
        ("redis+sentinel://h/s?sentinel_password=p", True),
        ("rediss://h?ssl_password=p", True),
        ("redis://h?password=p", True),
        ("redis://:p/w@h", True),
    ],
)
def test_a_url_with_a_password_is_known(url: str, may: bool) -> None:
    """Also a URL that is wrong counts when it may hold one."""
    assert has_password(url) is may


@pytest.mark.parametrize("content", [b"p@ss word", b"p@ss word\n", b"p@ss word\r\n"])
def test_a_password_file_is_one_line(content: bytes) -> None:
    """The line's end is no part of the password."""
    assert password_in(content) == "p@ss word"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff\xfe", b"x" * 5000])
def test_a_file_that_is_no_password_is_refused(content: bytes) -> None:
    """Empty, several lines, no text, too long: the setting is named."""
    with pytest.raises(SettingsError, match="redis_password_file: "):
        password_in(content)


def test_an_address_is_shown_as_it_is_written() -> None:
    """IPv6 addresses stand in brackets."""
    assert [shown(("h", 1)), shown(("::1", 2))] == ["h:1", "[::1]:2"]
