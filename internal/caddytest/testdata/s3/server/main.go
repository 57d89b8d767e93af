// Command server is an object store from before S3 had conditional writes: it drops the
// conditions of whatever writes. It verifies signatures, and reads need none unless
// it is told to hide objects from strangers.
package main

import (
	"encoding/xml"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	address := flag.String("address", "", "where to listen")
	hide := flag.Bool("hide", false, "hide objects from strangers")
	flag.Parse()
	store := gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true), gofakes3.WithoutVersioning()).Server()
	log.Fatal(http.ListenAndServe(*address, legacy(store, *hide)))
}

// legacy drops the conditions of writes, after it has verified the signature.
func legacy(store http.Handler, hide bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if signed := r.Header.Get("Authorization") != ""; signed || hide || !reads {
			if why := verify(r); why != "" {
				refuse(w, why)
				return
			}
		}
		if !reads {
			for name := range r.Header {
				if strings.HasPrefix(name, "If-") || strings.Contains(name, "-If-") {
					delete(r.Header, name)
				}
			}
		}
		if bucket, _, found := strings.Cut(r.Host, "."+host); found {
			r.URL.Path = "/" + bucket + r.URL.Path
		}
		store.ServeHTTP(w, r)
	})
}

// host is the name of the store, in front of which clients may name the bucket.
const host = "s3.example.com"

func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: "SignatureDoesNotMatch", Message: why})
}

// verify says what is wrong with the signature of a request, made with the keys test and
// secret.
func verify(r *http.Request) string {
	if r.URL.Query().Has("X-Amz-Signature") {
		return verifyURL(r)
	}
	given := r.Header.Get("Authorization")
	_, rest, _ := strings.Cut(given, "SignedHeaders=")
	names, _, ok := strings.Cut(rest, ",")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	_, scope, _ := strings.Cut(given, "Credential=test/")
	parts := strings.SplitN(scope, "/", 3)
	if !ok || err != nil || len(parts) != 3 {
		return "the request isn't signed"
	}
	again := &http.Request{Method: r.Method, URL: new(*r.URL), Host: r.Host, Header: make(http.Header)}
	again.URL.Host, again.URL.Scheme = r.Host, "http"
	for name := range strings.SplitSeq(names, ";") {
		switch {
		case name == "host":
		case name == "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "secret"}
	if err := signer.SignHTTP(r.Context(), credentials, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", parts[1], at); err != nil {
		return err.Error()
	}
	if got := again.Header.Get("Authorization"); got != strings.ReplaceAll(strings.ReplaceAll(given, ",", ", "), ",  ", ", ") {
		return fmt.Sprintf("got %s, want %s", given, got)
	}
	return ""
}

// verifyURL does so for a URL that was signed in advance.
func verifyURL(r *http.Request) string {
	query := r.URL.Query()
	given := query.Get("X-Amz-Signature")
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	seconds, failed := strconv.Atoi(query.Get("X-Amz-Expires"))
	if err != nil || failed != nil || len(scope) < 3 || time.Since(at) > time.Duration(seconds)*time.Second {
		return "the URL isn't signed, or has expired"
	}
	again := &http.Request{Method: r.Method, URL: new(*r.URL), Host: r.Host, Header: make(http.Header)}
	again.URL.Host, again.URL.Scheme = r.Host, "http"
	for name := range strings.SplitSeq(query.Get("X-Amz-SignedHeaders"), ";") {
		if name != "host" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	for _, name := range []string{"Algorithm", "Credential", "Date", "SignedHeaders", "Signature"} {
		query.Del("X-Amz-" + name) // the signer adds them
	}
	again.URL.RawQuery = query.Encode()
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "secret"}
	signed, _, err := signer.PresignHTTP(r.Context(), credentials, again, "UNSIGNED-PAYLOAD", "s3", scope[2], at)
	if err != nil {
		return err.Error()
	}
	if want, err := url.Parse(signed); err != nil || want.Query().Get("X-Amz-Signature") != given {
		return fmt.Sprintf("got %s, want %s", r.URL, signed)
	}
	return ""
}
