"""The table: a request in each line, what kind of request it is, and so what every gate answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from waitroom.web.visits import Form

#: `visit`: a browser shows a page by itself. `form`: what it posts from a page of this site, `foreign`: of another one.
#: `part`: all else that a browser asks for. `caller`: a client that is no browser. `reader`: one that prefers HTML.
Kind = Literal["visit", "form", "foreign", "part", "caller", "reader"]

#: The form of a "no" to each kind.
FORMS: Final[dict[Kind, Form]] = {
    "visit": "redirect",
    "form": "page",
    "foreign": "page",
    "part": "document",
    "caller": "document",
    "reader": "redirect",
}

#: The kinds that may take a free place at the gate.
TAKE_A_PLACE: Final[frozenset[Kind]] = frozenset({"visit", "form", "caller", "reader"})

_HTML: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_CHROME: Final = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
_OPENS: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-User": "?1"}
_SOCKET: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

#: Whose request it is: the headers that come with it.
_WHO: Final[dict[str, dict[str, str]]] = {
    "chrome": {
        "Accept": _CHROME,
        "Sec-Fetch-Site": "none",
        "Sec-Fetch-User": "?1",
        "Upgrade-Insecure-Requests": "1",
        **_OPENS,
    },
    "firefox": {"Accept": _HTML, "Sec-Fetch-Site": "none", **_OPENS},
    "safari": {"Accept": _HTML, "Sec-Fetch-Site": "none", **_OPENS},
    "http": {"Accept": _HTML, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
    "image": {
        "Accept": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "no-cors",
        "Sec-Fetch-Dest": "image",
    },
    "frame": {"Accept": _CHROME, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
    "fetch": {
        "Accept": "*/*",
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Dest": "empty",
    },
    "post": {"Accept": _CHROME, "Sec-Fetch-Site": "same-origin", **_OPENS, **_FORM},
    "curl": {"Accept": "*/*", "User-Agent": "curl/8.9.1"},
    "bare": {},
    "socket": {**_SOCKET, "Origin": "http://shop.example.com"},
}


@dataclass(frozen=True)
class Row:
    """One request."""

    kind: Kind
    name: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    version: str = "1.1"
    #: Where nginx was not told the form, it may take another one for right.
    guess: Form | None = None

    @property
    def form(self) -> Form:
        """The form of a "no"."""
        return "document" if self.method not in ("GET", "HEAD", "POST") else FORMS[self.kind]


def _row(kind: Kind, name: str, who: str, method: str = "GET", *, guess: Form | None = None, **more: str | None) -> Row:
    """`more` headers, with underscores for dashes; None takes one away."""
    headers = {**_WHO[who], **{header.replace("_", "-").title(): value for header, value in more.items()}}
    given = {header: value for header, value in headers.items() if value is not None}
    return Row(kind, name, method, given, "1.0" if name.startswith("HTTP/1.0") else "1.1", guess)


_PHONE: Final = "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 Version/4.0 Chrome/126.0 Mobile"
_IPHONE: Final = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"

ROWS: Final = (
    # Browsers that show a page.
    _row("visit", "Chrome: an address typed in", "chrome"),
    _row("visit", "Chrome: a link on this site", "chrome", sec_fetch_site="same-origin"),
    _row("visit", "Chrome: a link on another site", "chrome", sec_fetch_site="cross-site"),
    _row("visit", "Chrome: a link on a neighbour of the site", "chrome", sec_fetch_site="same-site"),
    _row("visit", "Chrome: a reload", "chrome", cache_control="max-age=0"),
    _row("visit", "Chrome: a download by a link", "chrome", sec_fetch_user=None),
    _row("visit", "Chrome: HEAD", "chrome", "HEAD"),
    _row("visit", "Chrome: with cookies of the site", "chrome", cookie="basket=1; consent=yes"),
    _row("visit", "Chrome: with a cookie that is no pass", "chrome", cookie="waitroom_ticket_shop=x.y.z"),
    _row("visit", "Chrome: with a credential for the site", "chrome", authorization="Basic eDp4"),
    _row("visit", "Firefox: an address typed in", "firefox"),
    _row("visit", "Firefox: a link on another site", "firefox", sec_fetch_site="cross-site", sec_fetch_user="?1"),
    _row("visit", "Firefox: private window", "firefox", dnt="1", sec_gpc="1"),
    _row("visit", "Firefox: high priority", "firefox", priority="u=0, i", te="trailers"),
    _row("visit", "Safari: an address typed in", "safari"),
    _row("visit", "Safari on a phone", "safari", user_agent=f"{_IPHONE} Version/17.5 Safari/604.1"),
    _row("visit", "Edge, with a note that data are to be saved", "chrome", save_data="on"),
    _row("visit", "Opera Mini", "http", x_operamini_phone="Nokia # 3310"),
    _row("visit", "Samsung's browser", "chrome", user_agent=f"{_PHONE} SamsungBrowser/25.0"),
    _row("visit", "a link of a page in a frame that leaves it", "chrome", sec_fetch_site="cross-site"),
    _row("visit", "a page that a service worker asks for in the visitor's place", "chrome", sec_fetch_dest="empty"),
    _row("visit", "a browser that says its mode only", "chrome", sec_fetch_dest=None),
    _row("visit", "a browser that says its destination only", "chrome", sec_fetch_mode=None),
    _row("visit", "a browser that says the site only", "chrome", sec_fetch_dest=None, sec_fetch_mode=None),
    _row("visit", "a page opened by a browser that accepts all", "chrome", accept="*/*"),
    _row("visit", "a page opened by a browser that says nothing of what it accepts", "chrome", accept=None),
    _row("visit", "a page opened, nothing of sense accepted", "chrome", accept=";;q=,,=x"),
    _row("visit", "a page opened, HTML less than all", "chrome", accept="text/html;q=0.8,*/*;q=0.9"),
    _row("visit", "a page opened, headers in capitals", "chrome", sec_fetch_mode="Navigate", sec_fetch_dest="Document"),
    _row("visit", "a browser that can upgrade insecure requests", "http", upgrade_insecure_requests="1"),
    _row("visit", "a purpose that is none", "chrome", purpose="navigation"),
    # Browsers in apps.
    _row("visit", "Android's WebView with the app's name", "chrome", x_requested_with="com.example.browser"),
    _row("visit", "Facebook on Android", "chrome", x_requested_with="com.facebook.katana", user_agent=_PHONE),
    _row("visit", "Instagram on Android", "chrome", x_requested_with="com.instagram.android", user_agent=_PHONE),
    _row("visit", "an app whose name begins like a script", "chrome", x_requested_with="XMLHttpRequest.example"),
    _row("visit", "an empty app name", "chrome", x_requested_with=""),
    _row("reader", "an old WebView", "http", x_requested_with="com.example.browser", user_agent=_PHONE),
    _row("reader", "an old WebView: HEAD", "http", "HEAD", x_requested_with="com.example.browser"),
    _row("visit", "Instagram on a phone of Apple", "safari", user_agent=f"{_IPHONE} Instagram 330.0"),
    _row("visit", "a mail program's window", "safari", user_agent=f"{_IPHONE} Outlook/4.2"),
    _row("form", "Android's WebView posts a form", "post", "POST", x_requested_with="com.example.browser"),
    # Fetched ahead.
    _row("part", "Chrome: prefetch by a link", "chrome", sec_purpose="prefetch", purpose="prefetch"),
    _row("part", "Chrome: prefetch, as it is now", "chrome", sec_purpose="prefetch"),
    _row("part", "Chrome: prefetch through a proxy", "chrome", sec_purpose="prefetch;anonymous-client-ip"),
    _row("part", "Chrome: prerender", "chrome", sec_purpose="prefetch;prerender"),
    _row(
        "part",
        "Chrome: prerender of another site",
        "chrome",
        sec_purpose="prefetch;prerender",
        sec_fetch_site="cross-site",
    ),
    _row("part", "prefetch in capitals", "chrome", sec_purpose="Prefetch"),
    _row("part", "prerender alone", "chrome", sec_purpose="prerender"),
    _row(
        "part", "prefetch by a link of the page, as a file", "fetch", sec_purpose="prefetch", sec_fetch_mode="no-cors"
    ),
    _row("part", "an old Chrome: prefetch", "http", purpose="prefetch"),
    _row("part", "an old Safari: preview", "http", purpose="preview"),
    _row("part", "Firefox: prefetch, as it was", "http", x_moz="prefetch"),
    _row(
        "part", "Firefox: prefetch", "firefox", sec_purpose="prefetch", sec_fetch_dest="empty", sec_fetch_mode="no-cors"
    ),
    _row("part", "prefetch by HEAD", "chrome", "HEAD", sec_purpose="prefetch"),
    _row("part", "prefetch in an app", "chrome", sec_purpose="prefetch", x_requested_with="com.example.browser"),
    # Parts of a page.
    _row("part", "an image of this site", "image"),
    _row("part", "an image on another site", "image", sec_fetch_site="cross-site"),
    _row("part", "an image on a neighbour of the site", "image", sec_fetch_site="same-site"),
    _row("part", "an image that accepts HTML", "image", accept=_HTML),
    _row("part", "an image in an app", "image", x_requested_with="com.example.browser"),
    _row("part", "an image of an older browser, or under http", "bare", accept="image/avif,image/webp,*/*;q=0.8"),
    _row("part", "an image of an older Safari", "bare", accept="image/webp,image/png,image/*;q=0.8,*/*;q=0.5"),
    _row("part", "an image of an older Firefox", "http", accept="IMAGE/avif, image/webp, */*"),
    _row("part", "a style of an older browser", "bare", accept="text/css,*/*;q=0.1"),
    _row("part", "a film of an older browser", "bare", accept="video/webm,video/*;q=0.9,*/*;q=0.5", range="bytes=0-"),
    _row("part", "a font of an older browser", "bare", accept="font/woff2,*/*;q=0.1"),
    _row("part", "a style", "image", accept="text/css,*/*;q=0.1", sec_fetch_dest="style"),
    _row("part", "a script", "image", accept="*/*", sec_fetch_dest="script"),
    _row("part", "a module", "image", accept="*/*", sec_fetch_dest="script", sec_fetch_mode="cors"),
    _row("part", "a font", "image", accept="*/*", sec_fetch_dest="font", sec_fetch_mode="cors"),
    _row("part", "a film", "image", accept="*/*", sec_fetch_dest="video", range="bytes=0-"),
    _row("part", "a sound", "image", accept="*/*", sec_fetch_dest="audio"),
    _row("part", "subtitles", "image", accept="*/*", sec_fetch_dest="track", sec_fetch_mode="same-origin"),
    _row("part", "a manifest", "image", accept="*/*", sec_fetch_dest="manifest", sec_fetch_mode="cors"),
    _row("part", "the icon", "image", sec_fetch_site="none"),
    _row("part", "a report of the browser", "image", "POST", accept="*/*", sec_fetch_dest="report"),
    _row("part", "a style sheet of XML", "image", accept=_HTML, sec_fetch_dest="xslt"),
    _row("part", "a frame of this site", "frame", sec_fetch_dest="iframe"),
    _row("part", "a frame on another site", "frame", sec_fetch_dest="iframe", sec_fetch_site="cross-site"),
    _row("part", "an old frame", "frame", sec_fetch_dest="frame"),
    _row("part", "a fenced frame", "frame", sec_fetch_dest="fencedframe"),
    _row("part", "an embedded page", "frame", sec_fetch_dest="embed"),
    _row("part", "an object", "frame", sec_fetch_dest="object"),
    _row("part", "a frame in an app", "frame", sec_fetch_dest="iframe", x_requested_with="com.example.browser"),
    _row("part", "a form posted into a frame", "post", "POST", sec_fetch_dest="iframe"),
    _row("part", "a service worker's script", "image", accept="*/*", sec_fetch_dest="serviceworker"),
    _row("part", "a worker's script", "image", accept="*/*", sec_fetch_dest="worker", sec_fetch_mode="same-origin"),
    _row("part", "a shared worker's script", "image", accept="*/*", sec_fetch_dest="sharedworker"),
    _row("part", "a worklet", "image", accept="*/*", sec_fetch_dest="audioworklet", sec_fetch_mode="cors"),
    # Scripts.
    _row("part", "fetch", "fetch"),
    _row("part", "fetch of HTML", "fetch", accept="text/html"),
    _row("part", "fetch of HTML in the same origin", "fetch", accept="text/html", sec_fetch_mode="same-origin"),
    _row("part", "fetch of JSON", "fetch", accept="application/json"),
    _row("part", "fetch from another site", "fetch", sec_fetch_site="cross-site", origin="https://evil.example"),
    _row("part", "fetch without CORS", "fetch", sec_fetch_mode="no-cors", sec_fetch_site="cross-site"),
    _row("part", "fetch: HEAD", "fetch", "HEAD"),
    _row("part", "fetch: POST", "fetch", "POST", content_type="application/json"),
    _row("part", "fetch: POST of a form", "fetch", "POST", accept="text/html", content_type="text/plain"),
    _row("part", "fetch: PUT", "fetch", "PUT"),
    _row("part", "fetch: PATCH", "fetch", "PATCH"),
    _row("part", "fetch: DELETE", "fetch", "DELETE"),
    _row("part", "fetch of an older browser, which says the mode only", "http", sec_fetch_mode="cors"),
    _row("part", "fetch in an app", "fetch", x_requested_with="com.example.browser"),
    _row("part", "a beacon", "fetch", "POST", sec_fetch_mode="no-cors"),
    _row("part", "an event stream", "fetch", accept="text/event-stream"),
    _row("part", "XMLHttpRequest", "fetch", x_requested_with="XMLHttpRequest"),
    _row(
        "part",
        "XMLHttpRequest that accepts HTML",
        "fetch",
        accept="text/html, */*; q=0.01",
        x_requested_with="XMLHttpRequest",
    ),
    _row("part", "a script that says it opens a page", "chrome", x_requested_with="XMLHttpRequest"),
    _row("part", "a script in small letters", "chrome", x_requested_with="xmlhttprequest"),
    _row("caller", "an old browser's XMLHttpRequest", "http", x_requested_with="XMLHttpRequest"),
    _row("caller", "an old browser's XMLHttpRequest: POST", "http", "POST", x_requested_with="XMLHttpRequest"),
    _row("part", "a preflight", "fetch", "OPTIONS", access_control_request_method="PUT", origin="https://app.example"),
    _row(
        "caller", "a preflight of an old browser", "bare", "OPTIONS", access_control_request_method="PUT", accept="*/*"
    ),
    _row("caller", "OPTIONS by a client that accepts HTML", "http", "OPTIONS"),
    # Forms.
    _row("form", "a form of this site", "post", "POST"),
    _row("form", "a form of this site, by Firefox", "post", "POST", accept=_HTML, origin="http://shop.example.com"),
    _row("form", "a form with a file", "post", "POST", content_type="multipart/form-data; boundary=x"),
    _row("form", "a form of a neighbour of the site", "post", "POST", sec_fetch_site="same-site"),
    _row("form", "a form sent again by a reload", "post", "POST", sec_fetch_site="none"),
    _row("form", "a form that a script sends", "post", "POST", sec_fetch_user=None),
    _row("form", "a form that a service worker hands on", "post", "POST", sec_fetch_dest="empty"),
    _row("form", "a form by an older browser", "http", "POST", content_type="application/x-www-form-urlencoded"),
    _row("form", "a form that accepts all", "post", "POST", accept="*/*"),
    _row(
        "foreign",
        "a bank sends the payer back",
        "post",
        "POST",
        sec_fetch_site="cross-site",
        origin="https://bank.example",
    ),
    _row("foreign", "a bank, after a redirect", "post", "POST", sec_fetch_site="cross-site", origin="null"),
    _row(
        "foreign",
        "a form of another site, in an app",
        "post",
        "POST",
        sec_fetch_site="cross-site",
        x_requested_with="com.example.app",
    ),
    _row("visit", "a form of this site by GET", "chrome", sec_fetch_site="same-origin"),
    _row("visit", "a form of another site by GET", "chrome", sec_fetch_site="cross-site"),
    # What clients accept.
    _row("reader", "accepts HTML", "bare", accept="text/html"),
    _row("reader", "accepts HTML, in capitals", "bare", accept="TEXT/HTML;level=1"),
    _row("reader", "accepts HTML and JSON less", "bare", accept="text/html, application/json;q=0.9"),
    _row("reader", "accepts JSON less and HTML", "bare", accept="application/json;q=0.5, text/html"),
    _row("reader", "accepts HTML, JSON not at all", "bare", accept="text/html;q=0.8, application/json;q=0"),
    _row("reader", "accepts HTML in full, by number", "bare", accept="text/html;q=1.0"),
    _row(
        "reader",
        "accepts HTML with a character set",
        "bare",
        accept="text/html; charset=utf-8, application/json; q=0.1",
    ),
    _row(
        "reader",
        "accepts HTML more than JSON",
        "bare",
        accept="text/html;q=0.9, application/json;q=0.5",
        guess="document",
    ),
    _row("reader", "accepts HTML a little, and all less", "bare", accept="text/html;q=0.8, */*;q=0.1"),
    _row("reader", "accepts HTML with a q that is none", "bare", accept="text/html;q=high"),
    _row("caller", "accepts JSON", "bare", accept="application/json"),
    _row("caller", "accepts JSON and HTML alike", "bare", accept="application/json, text/html"),
    _row("caller", "accepts HTML and a problem alike", "bare", accept="text/html, application/problem+json"),
    _row("caller", "accepts both alike, less", "bare", accept="text/html;q=0.8, application/json;q=0.8"),
    _row("caller", "accepts JSON and HTML less", "bare", accept="application/json, text/html;q=0.5"),
    _row("caller", "accepts HTML less and JSON", "bare", accept="text/html;q=0.5, application/json"),
    _row("caller", "accepts JSON more than HTML", "bare", accept="text/html;q=0.5, application/json;q=0.9"),
    _row("caller", "does not accept HTML", "bare", accept="text/html;q=0"),
    _row("caller", "does not accept HTML, to three digits", "bare", accept="text/html;q=0.000, */*"),
    _row("caller", "accepts text", "bare", accept="text/*"),
    _row("caller", "accepts XHTML only", "bare", accept="application/xhtml+xml"),
    _row("caller", "accepts all", "bare", accept="*/*"),
    _row("caller", "accepts nothing that there is", "bare", accept="x"),
    _row("caller", "accepts nonsense", "bare", accept=",;q=,,/;=;q=2"),
    _row("caller", "accepts a name like HTML", "bare", accept="x-text/htmlx", guess="page"),
    _row("caller", "says nothing", "bare"),
    # Clients that are no browsers.
    _row("caller", "curl", "curl"),
    _row("caller", "curl: HEAD", "curl", "HEAD"),
    _row("caller", "curl: POST", "curl", "POST", content_type="application/x-www-form-urlencoded"),
    _row("caller", "curl: PUT", "curl", "PUT"),
    _row("caller", "curl: DELETE", "curl", "DELETE"),
    _row("caller", "wget", "bare", accept="*/*", user_agent="Wget/1.24.5", accept_encoding="identity"),
    _row("caller", "Python's requests", "bare", accept="*/*", user_agent="python-requests/2.32.3"),
    _row("caller", "an API client", "bare", "POST", accept="application/json", content_type="application/json"),
    _row("caller", "an API client with a version", "bare", accept="application/vnd.shop.v2+json"),
    _row("caller", "an API client with a key", "bare", accept="application/json", authorization="Bearer abc"),
    _row("caller", "an app of its own", "bare", accept="application/json", user_agent="Shop/5.2 CFNetwork/1494"),
    _row("caller", "a health check", "bare", accept="*/*", user_agent="ELB-HealthChecker/2.0"),
    _row("caller", "PROPFIND", "curl", "PROPFIND"),
    _row("caller", "HTTP/1.0: a simple client", "bare"),
    _row("caller", "HTTP/1.0: a benchmark", "bare", accept="*/*", user_agent="ApacheBench/2.3"),
    _row("reader", "HTTP/1.0: an old browser", "http"),
    _row("reader", "Google's crawler", "http", user_agent="Mozilla/5.0 (compatible; Googlebot/2.1)"),
    _row("reader", "Bing's crawler", "http", user_agent="Mozilla/5.0 (compatible; bingbot/2.0)"),
    _row("caller", "a crawler that accepts all", "curl", user_agent="CCBot/2.0"),
    _row("caller", "a link preview of Facebook", "curl", user_agent="facebookexternalhit/1.1", range="bytes=0-524287"),
    _row("caller", "a link preview of Slack", "curl", user_agent="Slackbot-LinkExpanding 1.0"),
    _row("caller", "a link preview of WhatsApp", "curl", user_agent="WhatsApp/2.24.10"),
    _row("reader", "a link preview that accepts HTML", "bare", accept="text/html,*/*;q=0.5", user_agent="TelegramBot"),
    _row("reader", "a reader of feeds", "bare", accept="application/rss+xml,text/html;q=0.8,*/*;q=0.5"),
    _row("reader", "a text browser", "bare", accept="text/html, text/plain, */*;q=0.01", user_agent="Lynx/2.9"),
    # WebSockets.
    _row(
        "part",
        "a WebSocket of Chrome",
        "socket",
        sec_fetch_mode="websocket",
        sec_fetch_dest="empty",
        sec_fetch_site="same-origin",
    ),
    _row(
        "part", "a WebSocket of Firefox", "socket", accept="*/*", sec_fetch_mode="websocket", sec_fetch_dest="websocket"
    ),
    _row("part", "a WebSocket of another site", "socket", sec_fetch_mode="websocket", sec_fetch_site="cross-site"),
    _row("caller", "a WebSocket of a client that says nothing", "socket"),
)
