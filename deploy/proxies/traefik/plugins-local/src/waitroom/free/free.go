// Package free is a middleware of Traefik's: a request for a free path reaches the origin bare.
package free

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// The headers that the origin gets of the client's. None of them makes the request another address or method there. The
// last two are Traefik's own by now.
var kept = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "If-Modified-Since", "If-None-Match", "User-Agent",
	"X-Forwarded-Host", "X-Forwarded-Proto",
}

// Config names the free paths, each exactly.
type Config struct {
	Paths []string `json:"paths"`
}

// CreateConfig frees nothing.
func CreateConfig() *Config {
	return &Config{}
}

type middleware struct {
	next  http.Handler
	paths map[string]bool
}

// New is called once for each use of the middleware.
func New(_ context.Context, next http.Handler, config *Config, _ string) (http.Handler, error) {
	paths := map[string]bool{}
	for _, path := range config.Paths {
		paths[path] = true
	}
	return &middleware{next: next, paths: paths}, nil
}

// ServeHTTP passes on the path and the headers that are kept: no query, no body, no upgrade.
func (free *middleware) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if !free.paths[request.URL.Path] || (request.Method != http.MethodGet && request.Method != http.MethodHead) {
		http.Error(answer, "This is no free path.", http.StatusForbidden)
		return
	}
	headers := http.Header{}
	for _, name := range kept {
		if values := request.Header.Values(name); len(values) > 0 {
			headers[name] = values
		}
	}
	// It says ws or wss where the client asked for a WebSocket.
	headers.Set("X-Forwarded-Proto", strings.Replace(headers.Get("X-Forwarded-Proto"), "ws", "http", 1))
	request.Header = headers
	request.Trailer = nil
	request.URL = &url.URL{Path: request.URL.Path}
	request.RequestURI = request.URL.RequestURI()
	request.Body = http.NoBody
	request.ContentLength = 0
	request.TransferEncoding = nil
	free.next.ServeHTTP(answer, request)
}
