package main

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/fanfare-go/fanfare/broker"
)

// withChi mounts b as what it is, an http.Handler. Leave middleware.Timeout to
// the other routes: it ends the request's context, and with it the stream.
// middleware.Compress by itself leaves streams alone, as their type is not among those
// that it compresses; if you name it, it keeps a compressor for each of them, of which
// [broker.Options].Compress has none.
func withChi(b *broker.Broker) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.RequestID, middleware.Recoverer, middleware.Compress(5))
	router.Method(http.MethodGet, "/events", b)
	return router
}
