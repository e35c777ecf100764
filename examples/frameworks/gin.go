package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/fanfare-go/fanfare/broker"
)

// withGin mounts b with gin.WrapH. Middleware that compresses, which gin has in
// modules of its own, is for the other routes, as with chi and echo: use it with
// a group that b is not in.
func withGin(b *broker.Broker) http.Handler {
	gin.SetMode(gin.ReleaseMode) // it is chatty otherwise
	engine := gin.New()
	engine.Use(gin.Recovery())
	engine.GET("/events", gin.WrapH(b))
	engine.GET("/", gin.WrapF(about))
	return engine
}
