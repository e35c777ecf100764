package main

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/fanfare-go/fanfare/broker"
)

// withEcho mounts b with echo.WrapHandler. Leave middleware.Timeout, and
// middleware.ContextTimeout, to the other routes: one does not flush, the other
// ends the stream. And middleware.Gzip: it keeps a compressor for each stream.
// What compresses streams is [broker.Options].Compress, once for all of them.
func withEcho(b *broker.Broker) http.Handler {
	e := echo.New()
	e.Use(middleware.RequestID(), middleware.Recover(), middleware.GzipWithConfig(middleware.GzipConfig{
		Skipper: func(c echo.Context) bool { return c.Path() == "/events" },
	}))
	e.GET("/events", echo.WrapHandler(b))
	e.GET("/", echo.WrapHandler(http.HandlerFunc(about)))
	return e
}
