from tests.support.committed import save as save
