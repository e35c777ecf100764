package ssetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// certificateName is the name the certificate is for. Clients check this name
// whatever host they dial, so that one certificate does for every address.
const certificateName = "sse.test"

// certificate returns a self-signed certificate and the pool that trusts it,
// the same ones throughout the process.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	cert, pool, err := newCertificate()
	if err != nil {
		panic(fmt.Sprintf("ssetest: making a certificate: %v", err))
	}
	return cert, pool
})

func newCertificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: certificateName},
		DNSNames:     []string{certificateName},
		// Wide: the first caller may be in a synctest bubble, where it is the
		// year 2000, and the next one outside.
		NotBefore:             time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool, nil
}
