package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/fanfare-go/fanfare/broker"
)

// withGin mounts b with gin.WrapH.
func withGin(b *broker.Broker) http.Handler {
	gin.SetMode(gin.ReleaseMode) // it is chatty otherwise
	engine := gin.New()
	engine.Use(gin.Recovery())
	engine.GET("/events", gin.WrapH(b))
	return engine
}
