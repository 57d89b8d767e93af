package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// records is a legacy service for one protocol: a resource with a version, which every write
// increments, whatever its conditions say.
type records struct {
	mediaType string
	content   string // with its version and its text
	mu        sync.Mutex
	version   int
	text      string
	writes    int
}

func (s *records) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != "GET" {
		var changed struct{ Text string }
		if err := json.Unmarshal(sent, &changed); err != nil {
			w.WriteHeader(400)
			return
		}
		s.version, s.text, s.writes = s.version+1, changed.Text, s.writes+1
	}
	w.Header().Set("Content-Type", s.mediaType)
	_, _ = io.WriteString(w, fmt.Sprintf(s.content, s.version, s.text))
}

// Clients of FHIR, OData and SCIM make their If-Match from the version in the content. What
// they save passes, what they save with a stale version doesn't, and of many that compete one
// wins, in front of a service that knows no conditions.
func TestClientsWithVersions(t *testing.T) {
	t.Parallel()
	for protocol, tt := range map[string]struct{ options, mediaType, content string }{
		"fhir": {
			"etag json /meta/versionId weak", "application/fhir+json",
			`{"resourceType":"Patient","id":"1","meta":{"versionId":"%d"},"text":%q}`,
		},
		"odata": {
			"etag json /@odata.etag verbatim", "application/json; odata.metadata=minimal",
			`{"@odata.context":"x","@odata.etag":"W/\"%d\"","accountid":"00000000-0000-0000-0000-000000000001","text":%q}`,
		},
		"scim": {
			"etag json /meta/version verbatim", "application/scim+json",
			`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"1","meta":{"version":"W/\"%d\""},"text":%q}`,
		},
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				service := &records{mediaType: tt.mediaType, content: tt.content, version: 7, text: "first"}
				var got struct {
					Saved, Stale, Again int
					Text                string
					Contest             []int
				}
				said := caddytest.VersionClient(t, protocol, deploy(t, tt.options+"\netag body", service).First())
				if err := json.Unmarshal(said, &got); err != nil {
					t.Fatalf("%v in %s", err, said)
				}
				if got.Saved != 200 || got.Stale != 412 || got.Again != 200 || got.Text != "third" {
					t.Errorf("%s", said)
				}
				won, lost := 0, 0
				for _, status := range got.Contest {
					switch status {
					case 200:
						won++
					case 412:
						lost++
					}
				}
				if won != 1 || lost != 15 || service.writes != 3 || !strings.HasPrefix(service.text, "by ") {
					t.Errorf("the service performed %d writes, the last %q: %s", service.writes, service.text, said)
				}
			})
		})
	}
}
