// Command client does what it is told with the SDK for Go: each line on its standard input is an
// operation in JSON, and each line on its standard output what became of one. Operations
// run beside each other.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type operation struct {
	ID                                      int
	Op, Endpoint, Bucket, Key, Body, Source string
	IfMatch, IfNoneMatch                    string
	SourceIfMatch, Host                     string
	Keys                                    []string
	Virtual                                 bool
}

type result struct {
	ID                     int
	Status                 int
	Code, ETag, Body, Text string
}

func main() {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	var all sync.WaitGroup
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			panic(err)
		}
		all.Go(func() {
			r := result{ID: o.ID, Status: 200}
			if err := do(o, &r); err != nil {
				r.Status, r.Text = 0, err.Error()
				var response *smithyhttp.ResponseError
				var api smithy.APIError
				if errors.As(err, &response) {
					r.Status = response.HTTPStatusCode()
				}
				if errors.As(err, &api) {
					r.Code = api.ErrorCode()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(r)
		})
	}
	all.Wait()
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func do(o operation, r *result) error {
	ctx := context.Background()
	options := s3.Options{
		Region: "us-east-1", BaseEndpoint: &o.Endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("test", "secret", ""), Retryer: aws.NopRetryer{},
	}
	if o.Host != "" {
		address := strings.TrimPrefix(o.Endpoint, "http://")
		options.BaseEndpoint, options.UsePathStyle = aws.String("http://"+o.Host), !o.Virtual
		options.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	}
	c := s3.New(options)
	switch o.Op {
	case "put":
		out, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &o.Bucket, Key: &o.Key, Body: strings.NewReader(o.Body), IfMatch: text(o.IfMatch), IfNoneMatch: text(o.IfNoneMatch),
		})
		if err == nil {
			r.ETag = aws.ToString(out.ETag)
		}
		return err
	case "get":
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key, IfMatch: text(o.IfMatch), IfNoneMatch: text(o.IfNoneMatch)})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		content, err := io.ReadAll(out.Body)
		r.ETag, r.Body = aws.ToString(out.ETag), string(content)
		return err
	case "head":
		out, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key, IfMatch: text(o.IfMatch), IfNoneMatch: text(o.IfNoneMatch)})
		if err == nil {
			r.ETag = aws.ToString(out.ETag)
		}
		return err
	case "delete":
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &o.Bucket, Key: &o.Key, IfMatch: text(o.IfMatch)})
		return err
	case "deletes":
		var all []types.ObjectIdentifier
		for _, key := range o.Keys {
			all = append(all, types.ObjectIdentifier{Key: &key, ETag: text(o.IfMatch)})
		}
		_, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &o.Bucket, Delete: &types.Delete{Objects: all}})
		return err
	case "create":
		_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &o.Bucket})
		return err
	case "copy":
		out, err := c.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &o.Bucket, Key: &o.Key, CopySource: &o.Source, IfMatch: text(o.IfMatch), IfNoneMatch: text(o.IfNoneMatch),
			CopySourceIfMatch: text(o.SourceIfMatch),
		})
		if err == nil && out.CopyObjectResult != nil {
			r.ETag = aws.ToString(out.CopyObjectResult.ETag)
		}
		return err
	case "multipart":
		return multipart(ctx, c, o, r)
	}
	return errors.New("unknown operation " + o.Op)
}

func multipart(ctx context.Context, c *s3.Client, o operation, r *result) error {
	created, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return err
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: created.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(o.Body),
	})
	if err != nil {
		return err
	}
	out, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: created.UploadId, IfMatch: text(o.IfMatch), IfNoneMatch: text(o.IfNoneMatch),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}},
	})
	if err == nil {
		r.ETag = aws.ToString(out.ETag)
	}
	return err
}
