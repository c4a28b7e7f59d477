<?php
// The file that the path names, as PHP does it best. Its length is said so that connections can be kept.
$path = $_SERVER['DOCUMENT_ROOT'] . $_SERVER['DOCUMENT_URI'];
header('Content-Type: application/octet-stream');
header('Content-Length: ' . filesize($path));
readfile($path);
