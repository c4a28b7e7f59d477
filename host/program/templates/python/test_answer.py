import unittest

from answer import answer


class Answers(unittest.TestCase):
    def test_it_says_hello(self):
        reply = answer("GET", "/?name=J%C3%B6rg", [], b"")
        self.assertEqual((reply.status, reply.body.decode()), (200, "hello, Jörg\n"))

    def test_it_knows_one_page(self):
        self.assertEqual(answer("GET", "/other", [], b"").status, 404)


if __name__ == "__main__":
    unittest.main()
