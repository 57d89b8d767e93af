<?php
// A document service in PHP: documents are files, whatever is PUT is stored,
// and nothing is said about validators.
//
//	php -S 127.0.0.1:<port> -t <directory of the documents> documents.php

$path = rawurldecode(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
if (!preg_match('#^/(\w+)$#', $path, $match)) {
    http_response_code(404);
    exit('no such document');
}
$file = $_SERVER['DOCUMENT_ROOT'] . '/' . $match[1] . '.json';
$exists = is_file($file);

switch ($_SERVER['REQUEST_METHOD']) {
    case 'GET':
    case 'HEAD':
        if (!$exists) {
            http_response_code(404);
            exit('no such document');
        }
        header('Content-Type: application/json');
        echo file_get_contents($file);
        break;
    case 'PUT':
        file_put_contents($file, file_get_contents('php://input'));
        http_response_code($exists ? 204 : 201);
        break;
    case 'DELETE':
        if (!$exists) {
            http_response_code(404);
            exit('no such document');
        }
        unlink($file);
        http_response_code(204);
        break;
    default:
        http_response_code(405);
}
