package main

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/fanfare-go/fanfare/broker"
)

// withChi mounts b as what it is, an http.Handler. Leave middleware.Timeout to
// the other routes: it ends the request's context, and with it the stream. And
// middleware.Compress: it does not compress this type, but keeps a compressor for
// each stream all the same. What compresses streams is [broker.Options].Compress, once
// for all of them.
func withChi(b *broker.Broker) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.RequestID, middleware.Recoverer)
	router.Method(http.MethodGet, "/events", b)
	router.Group(func(others chi.Router) {
		others.Use(middleware.Compress(5))
		others.Get("/", about)
	})
	return router
}
