"""Does what it is told with boto3: each line on standard input is an operation in JSON, and
each line on standard output what became of one. Operations run beside each other."""

import json
import socket
import sys
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

lock = threading.Lock()
session = boto3.session.Session()


resolve = socket.getaddrinfo
addresses = {}  # of what operations call their endpoints
socket.getaddrinfo = lambda host, *rest, **more: resolve(addresses.get(host, host), *rest, **more)


def client(o, fields):
    endpoint, style = o["Endpoint"], "virtual" if o.get("Virtual") else "path"
    if o.get("Host"):
        address, port = endpoint.removeprefix("http://").rsplit(":", 1)
        endpoint = "http://" + o["Host"] + ":" + port
        addresses[o["Host"]] = addresses[o["Bucket"] + "." + o["Host"]] = address
    with lock:  # making one isn't safe for threads
        c = session.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}, s3={"addressing_style": style}))

    def add(request, **_):
        for name, value in fields.items():
            if value and name not in request.headers:
                request.headers[name] = value  # older versions don't know it

    return c, add


def do(o, r):
    c, add = client(o, {
        "If-Match": o.get("IfMatch"), "If-None-Match": o.get("IfNoneMatch"), "x-amz-copy-source-if-match": o.get("SourceIfMatch")})
    on, name = {"Bucket": o["Bucket"]}, o["Op"]
    if name not in ("deletes", "create"):
        on["Key"] = o["Key"]
    last = {"put": "PutObject", "get": "GetObject", "head": "HeadObject", "delete": "DeleteObject", "copy": "CopyObject",
            "multipart": "CompleteMultipartUpload", "deletes": "DeleteObjects", "create": "CreateBucket"}[name]
    if name != "deletes":
        c.meta.events.register("before-sign.s3." + last, add)
    if name == "put":
        r["ETag"] = c.put_object(Body=o["Body"].encode(), **on)["ETag"]
    elif name == "get":
        out = c.get_object(**on)
        r["ETag"], r["Body"] = out["ETag"], out["Body"].read().decode()
    elif name == "head":
        r["ETag"] = c.head_object(**on)["ETag"]
    elif name == "delete":
        c.delete_object(**on)
    elif name == "deletes":
        if o.get("IfMatch"):
            raise NotImplementedError("the model has no tags in a list of objects to delete")
        c.delete_objects(Delete={"Objects": [{"Key": key} for key in o["Keys"]]}, **on)
    elif name == "create":
        c.create_bucket(**on)
    elif name == "copy":
        r["ETag"] = c.copy_object(CopySource=o["Source"], **on)["CopyObjectResult"]["ETag"]
    else:
        upload = c.create_multipart_upload(**on)["UploadId"]
        part = c.upload_part(UploadId=upload, PartNumber=1, Body=o["Body"].encode(), **on)
        r["ETag"] = c.complete_multipart_upload(
            UploadId=upload, MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}, **on)["ETag"]


def run(o):
    r = {"ID": o["ID"], "Status": 200}
    try:
        do(o, r)
    except ClientError as e:
        r["Status"] = e.response["ResponseMetadata"]["HTTPStatusCode"]
        r["Code"], r["Text"] = e.response["Error"]["Code"], str(e)
    except Exception as e:  # the test says what it expected
        r["Status"], r["Text"] = 0, repr(e)
    with lock:
        print(json.dumps(r), flush=True)


threads = []
for line in sys.stdin:
    thread = threading.Thread(target=run, args=(json.loads(line),))
    thread.start()
    threads.append(thread)
for thread in threads:
    thread.join()
